"""Workers on other machines: the executor that offers attempts to them, and what each of them does."""
