"""The open-access literature as it is distributed: fetched, verified and kept up to date in a paper store."""
