"""The privacy audit: attackers trained on anonymized windows; figures, verdict, report and certificate."""
