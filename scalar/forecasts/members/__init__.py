"""One way to forecast a file: each reads a history and says how it goes on, and knows nothing of the others."""
