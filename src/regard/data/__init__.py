"""Reading, cutting into tokens, preparing on disk, batching."""
