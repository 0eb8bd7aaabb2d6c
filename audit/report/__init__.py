"""The verdict, and the report: JSON, HTML, plots, certificate."""
