"""Cases: decisions a person should see."""
