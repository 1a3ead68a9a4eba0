"""The fault harness: drives a real installation, breaks it, and checks from outside what is left."""
