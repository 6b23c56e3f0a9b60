"""What several strategies of search share."""
