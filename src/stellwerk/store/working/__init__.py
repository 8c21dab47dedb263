"""Working copies: folders of files on disk, as trees of the store and back. Of datasets they know nothing."""
