"""The benchmarks of `make bench`. Each compares Ostiary with a reference and checks the result against a bar."""
