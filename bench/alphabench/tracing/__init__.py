"""What code takes in memory, arithmetic and traffic, counted from shapes without weights or GPU.

`ledger` counts every operator of torch and the tensors that are alive. `shapes_only` runs code
whose weights have shapes and no values. `bounds` says how fast a GPU could be at best. Knows no
model.
"""
