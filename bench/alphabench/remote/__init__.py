"""Remote hosts: addresses, keys, the HTTP client, and responses. Knows no judge and no image."""
