-- Numbers are reserved by a call, in a short transaction of its own, also where a worker needs one.

drop policy worker on alert.number;
revoke select, insert, update on alert.number from alert_worker;

-- What was rejected stays as it was.
revoke update on alert.rejected_alerts from alert_worker;
