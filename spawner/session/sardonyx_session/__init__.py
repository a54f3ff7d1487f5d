"""The agent in a Sardonyx session: keeps credentials fresh in kernels, shells and tools. Standard library only."""
