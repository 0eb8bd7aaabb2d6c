"""The verdict, and the report: JSON, HTML, plots and certificate."""
