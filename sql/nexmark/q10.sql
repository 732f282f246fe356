-- Log: every bid, with the day and the hour that say which file it goes to.
SELECT auction, bidder, price, date_time, extra, cast(cast(date_time AS DATE) AS STRING) AS day, date_part('hour', date_time) AS hour
FROM bid
