"""Who may do what: permissions, grants and the decision between them."""
