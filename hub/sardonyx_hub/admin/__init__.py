"""What administrators and managers of groups see and do. No Tornado in here: handlers are in `api` and `pages`."""
