"""What happened to models, told to machines elsewhere: webhooks, and the deliveries that the ledger leads to."""
