-- Channel statistics: the same for each channel, and when its last bid was.
SELECT channel,
       cast(date_time AS DATE) AS day,
       max(date_time) AS last,
       count(*) AS total_bids,
       count_if(price < 10000) AS low_bids,
       count_if(price >= 10000 AND price < 1000000) AS middle_bids,
       count_if(price >= 1000000) AS high_bids,
       count(DISTINCT bidder) AS total_bidders,
       count(DISTINCT bidder) FILTER (WHERE price < 10000) AS low_bidders,
       count(DISTINCT bidder) FILTER (WHERE price >= 10000 AND price < 1000000) AS middle_bidders,
       count(DISTINCT bidder) FILTER (WHERE price >= 1000000) AS high_bidders,
       count(DISTINCT auction) AS total_auctions,
       count(DISTINCT auction) FILTER (WHERE price < 10000) AS low_auctions,
       count(DISTINCT auction) FILTER (WHERE price >= 10000 AND price < 1000000) AS middle_auctions,
       count(DISTINCT auction) FILTER (WHERE price >= 1000000) AS high_auctions
FROM bid GROUP BY channel, cast(date_time AS DATE)
