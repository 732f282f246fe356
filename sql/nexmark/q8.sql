-- Monitor new users: who opened an auction in the ten seconds of their registration.
SELECT p.id, p.name, p.starts
FROM (SELECT id, name, window.start AS starts FROM person GROUP BY id, name, window(date_time, '10 seconds')) p
JOIN (SELECT seller, window.start AS starts FROM auction GROUP BY seller, window(date_time, '10 seconds')) a
ON p.id = a.seller AND p.starts = a.starts
