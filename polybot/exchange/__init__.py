"""The loopback exchange: one process that speaks the venue's protocols on localhost, to rehearse on."""
