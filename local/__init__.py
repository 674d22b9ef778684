"""What stands in for Azure on a laptop; never deployed, and nothing in mint/ knows that it exists."""
