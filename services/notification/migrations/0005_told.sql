-- Whether an event was told already is asked for each event that a rule wants told.
create index delivery_event on notification.deliveries (event_id);
