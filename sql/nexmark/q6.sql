-- Average selling price by seller: of the last ten items that were sold.
SELECT seller, id, avg(price) OVER (PARTITION BY seller ORDER BY sold, id ROWS BETWEEN 9 PRECEDING AND CURRENT ROW) AS average
FROM (
  SELECT a.id, a.seller, b.price, b.date_time AS sold,
         row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time) AS place
  FROM auction a JOIN bid b ON a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires
) ranked
WHERE place = 1
