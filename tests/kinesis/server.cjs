// Runs a server with the protocol of Kinesis on loopback, and prints its address. It ends with its stdin. scripts/kinesis starts it.
//
//   node server.cjs kinesalite|kinesis-local PORT       PORT 0: any free port
'use strict'

const net = require('net')
const [name, port] = [process.argv[2], Number(process.argv[3] || 0)]

process.stdin.resume()
process.stdin.on('end', () => process.exit(0))

const started = {
  // Fast, with sequence numbers and shards like those of AWS.
  kinesalite() {
    atTimestamp()
    const options = { createStreamMs: 0, deleteStreamMs: 0, updateStreamMs: 0, shardLimit: 1000 }
    const server = require('kinesalite')(options)
    server.listen(port, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`))
  },

  // Slower; it also tells of the children of a shard, and changes the number of shards.
  'kinesis-local'() {
    // It wants to know its ports before it listens, on all addresses, and a second one with TLS. Ports that were free could be taken meanwhile, so
    // these are only names: it listens on any free port of loopback.
    const [plain, tls] = [4567, 4568]
    const [log, listen] = [console.log, net.Server.prototype.listen]
    net.Server.prototype.listen = function (options, ...rest) {
      const own = typeof options === 'object' ? options : { port: options }
      if (own.port === plain) this.once('listening', () => log(`http://127.0.0.1:${this.address().port}`))
      const where = { ...own, host: '127.0.0.1', port: own.port === plain ? port : 0 }
      return listen.call(this, where, ...rest.filter((r) => typeof r === 'function'))
    }
    const quick = ['CREATE_STREAM', 'DELETE_STREAM', 'MERGE_SHARDS', 'SPLIT_SHARD', 'UPDATE_SHARD_COUNT']
    quick.forEach((what) => { process.env[`${what}_DURATION`] = '1ms' })
    Object.assign(process.env, { KINESIS_MOCK_PLAIN_PORT: plain, KINESIS_MOCK_TLS_PORT: tls, LOG_LEVEL: 'ERROR', SHARD_LIMIT: '1000' })
    console.log = console.error
    const main = require.resolve('kinesis-local/main.js')
    // It reads its settings from there.
    process.chdir(require('path').dirname(main))
    require(main)
  },
}

// Kinesalite never answers a call for an iterator at a time after which a shard has no record.
function atTimestamp() {
  const path = require.resolve('kinesalite/actions/getShardIterator')
  const original = require(path)
  const db = require('kinesalite/db')
  require.cache[path].exports = (store, data, cb) => {
    if (data.ShardIteratorType !== 'AT_TIMESTAMP' || data.Timestamp * 1000 > Date.now()) return original(store, data, cb)
    let shard
    try {
      shard = db.resolveShardId(data.ShardId).shardIx
    } catch (e) {
      return original(store, data, cb)
    }
    store.getStream(data.StreamName, (error) => {
      if (error) return original(store, data, cb)
      let last = null
      let found = false
      const records = store.getStreamDb(data.StreamName).createReadStream({ gt: db.shardIxToHex(shard), lt: db.shardIxToHex(shard + 1) })
      records.on('data', (item) => {
        last = item.key.split('/')[1]
        found = found || item.value.ApproximateArrivalTimestamp >= data.Timestamp
      })
      records.on('end', () => {
        const { Timestamp, ...place } = data
        if (found) return original(store, data, cb)
        if (last === null) return original(store, { ...place, ShardIteratorType: 'TRIM_HORIZON' }, cb)
        original(store, { ...place, ShardIteratorType: 'AFTER_SEQUENCE_NUMBER', StartingSequenceNumber: last }, cb)
      })
    })
  }
}

if (!started[name]) {
  console.error(`no server ${name}: kinesalite or kinesis-local`)
  process.exit(2)
}
started[name]()
