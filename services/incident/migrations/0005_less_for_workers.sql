-- Numbers are reserved by a call, in a short transaction of its own, also where a worker needs one.

drop policy worker on incident.number;
revoke select, insert, update on incident.number from incident_worker;
