-- Channel ids: of the names of known channels, and of the links of others.
SELECT auction, bidder, price, channel,
       CASE lower(channel) WHEN 'apple' THEN '0' WHEN 'google' THEN '1' WHEN 'facebook' THEN '2' WHEN 'baidu' THEN '3'
            ELSE nullif(split_part(split_part(url, 'channel_id=', 2), '&', 1), '') END AS channel_id
FROM bid
WHERE url LIKE '%channel_id=%' OR lower(channel) IN ('apple', 'google', 'facebook', 'baidu')
