"""Token ids to packed, masked micro-batches; everything here is a function of counters."""
