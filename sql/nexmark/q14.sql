-- Calculation: expressions and a function of the program.
SELECT auction, bidder, price * 0.908 AS price,
       CASE WHEN date_part('hour', date_time) BETWEEN 8 AND 18 THEN 'day'
            WHEN date_part('hour', date_time) <= 6 OR date_part('hour', date_time) >= 20 THEN 'night'
            ELSE 'twilight' END AS bid_time_type,
       date_time, extra, count_char(extra, 'c') AS c_counts
FROM bid
WHERE price * 0.908 > 1000000 AND price * 0.908 < 50000000
