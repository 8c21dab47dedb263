"""What an MLflow tracker kept, taken over: from its database, its folder or its server."""
