"""Programs that others wrote, unmodified, against a real `ostiary serve`."""
