"""What a subscriber does with published messages: a web page, and bridges to other protocols."""
