# An empty file is right: everything has a default.
