-- Auction statistics: bids and prices of each auction and day.
SELECT auction,
       cast(date_time AS DATE) AS day,
       count(*) AS total_bids,
       count_if(price < 10000) AS low_bids,
       count_if(price >= 10000 AND price < 1000000) AS middle_bids,
       count_if(price >= 1000000) AS high_bids,
       min(price) AS least,
       max(price) AS most,
       avg(price) AS average,
       sum(price) AS total
FROM bid GROUP BY auction, cast(date_time AS DATE)
