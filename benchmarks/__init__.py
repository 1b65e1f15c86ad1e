"""What the adapters cost, side by side with others: ``python -m benchmarks``."""
