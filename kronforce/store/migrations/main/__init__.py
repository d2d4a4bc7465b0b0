"""Everything but streamed output."""
