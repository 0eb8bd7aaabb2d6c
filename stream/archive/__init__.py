"""Files of published messages: windows, gestures, events. Nothing here knows anything that is not published."""
