"""Storage: records of what happens, their tables, and the write-behind that feeds the storage worker."""
