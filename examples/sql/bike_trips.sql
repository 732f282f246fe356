-- Trips of bicycles from files of CSV: long trips go to files of JSON, and the stations are counted on the console.
--     tidemill sql examples/sql/bike_trips.sql --checkpoint state
CREATE TABLE trips (
    `Trip ID` INT, Duration INT, `Start Date` TIMESTAMP, `Start Station` STRING, `Start Terminal` INT, `End Date` TIMESTAMP,
    `End Station` STRING, `End Terminal` INT, `Bike #` INT, `Subscriber Type` STRING, `Zip Code` STRING
) USING csv OPTIONS (path 'trips', header 'true', timestampFormat 'M/d/yyyy H:mm', maxFilesPerTrigger '1');

-- A table that does not stream.
CREATE TABLE stations (name STRING, town STRING) USING csv OPTIONS (path 'stations.csv', stream 'false');

CREATE TABLE long_trips (station STRING, minutes DOUBLE, started TIMESTAMP) USING json OPTIONS (path 'long');

CREATE VIEW placed AS
SELECT town, `Start Station` AS station, Duration / 60 AS minutes, `Start Date` AS started
FROM trips JOIN stations ON `Start Station` = name;

INSERT INTO long_trips SELECT station, minutes, started FROM placed WHERE minutes >= 30;

SELECT town, station, count(*) AS trips, round(avg(minutes), 1) AS mean
FROM placed
GROUP BY town, station
ORDER BY town, trips DESC;
