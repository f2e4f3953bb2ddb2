"""What a model is asked: each objective turns plain ids into inputs, targets, and which positions count."""
