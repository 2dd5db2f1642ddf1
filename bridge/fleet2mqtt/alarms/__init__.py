"""Alarm management: conditions, acknowledgement, shelving, maintenance windows and suppression (RFC 8632, ISA-18.2)."""
