-- Numbers are reserved by a call, in a short transaction of its own, also where a worker needs one.

drop policy worker on notification.number;
revoke select, insert, update on notification.number from notification_worker;
