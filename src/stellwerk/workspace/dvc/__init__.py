"""DVC repositories in and out. Reading their files is `stellwerk.data.dvc`; here disks, git and the store meet."""
