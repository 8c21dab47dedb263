"""Ways in over HTTP: pages, API, inference and the doors for other tools. Loaded only when served."""
