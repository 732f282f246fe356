-- Counts the words of the text files in the folder `in`, also of those that appear later:
--     tidemill sql examples/sql/wordcount.sql
CREATE TABLE lines (value STRING) USING text OPTIONS (path 'in');

SELECT word, count(*) AS count
FROM (SELECT explode(split(value, ' ')) AS word FROM lines) AS words
GROUP BY word
ORDER BY count DESC, word;
