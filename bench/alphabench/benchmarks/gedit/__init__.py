"""GEdit-Bench, scored by VIEScore."""
