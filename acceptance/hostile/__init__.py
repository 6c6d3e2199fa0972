"""The hostile suite: attacks on a server process, and what an honest client beside each of them notices."""
