"""What is published, stated once: data sets, class tables, label values."""
