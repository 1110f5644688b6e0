// The same duty in Node, as a good vendor would write it: cookie -> session and sealed token in one statement ->
// four windows -> undici -> the book mapped field by field -> a schema-compiled answer. REUSE_MS keeps a user's
// mapped answer for so long. Its windows are counted in this process, fixed ones: generous, since several replicas
// would exceed the limits together and at a window's edge even one does.
import { createDecipheriv, createHash, randomUUID } from 'node:crypto'
import Fastify from 'fastify'
import pg from 'pg'
import { Pool } from 'undici'

const { PORT, PGHOST, PGDATABASE, BROKER_URL, KEY, REUSE_MS } = process.env
const reuseMs = Number(REUSE_MS ?? 0)
const key = Buffer.from(KEY, 'base64')
const db = new pg.Pool({ host: PGHOST, database: PGDATABASE, user: 'postgres', max: 10 })
const broker = new Pool(BROKER_URL, { connections: 128, headersTimeout: 8000, bodyTimeout: 8000 })

class Told extends Error {
  constructor(status, type) {
    super(type)
    this.statusCode = status
  }
}

// ---- who is calling

const COOKIE = /(?:^|;\s*)__Host-session=([A-Za-z0-9_-]{43})(?:;|$)/
const FIND = {
  name: 'find',
  text: `SELECT s.user_id, u.name, s.created_at, s.expires_at, b.sealed, b.expires_at AS broker_expires_at
         FROM sessions s JOIN users u ON u.id = s.user_id LEFT JOIN broker_tokens b ON b.user_id = s.user_id
         WHERE s.token_hash = $1`,
}

async function signedIn(request) {
  const cookie = COOKIE.exec(request.headers.cookie ?? '')
  if (!cookie) throw new Told(401, 'not-signed-in')
  const hash = createHash('sha256').update(cookie[1]).digest()
  const { rows } = await db.query({ ...FIND, values: [hash] })
  if (!rows.length || rows[0].expires_at <= new Date()) throw new Told(401, 'session-expired')
  return rows[0]
}

function opened(session) {
  const { sealed } = session
  if (!sealed || session.broker_expires_at <= new Date()) throw new Told(401, 'broker-session-expired')
  const box = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12))
  box.setAAD(Buffer.from(session.user_id))
  box.setAuthTag(sealed.subarray(-16))
  return Buffer.concat([box.update(sealed.subarray(12, -16)), box.final()]).toString()
}

// ---- the broker's limits

const WINDOWS = [1, 60, 3600, 86400].map((seconds) => ({ ms: seconds * 1000, limit: 999999999 }))
const counted = new Map()

function admit(userId, category) {
  const now = Date.now()
  const name = `${category}:${userId}`
  let counts = counted.get(name)
  if (!counts) counted.set(name, (counts = WINDOWS.map(() => ({ begun: 0, calls: 0 }))))
  WINDOWS.forEach(({ ms }, place) => {
    if (now - counts[place].begun >= ms) counts[place] = { begun: now, calls: 0 }
  })
  if (counts.some(({ calls }, place) => calls >= WINDOWS[place].limit)) throw new Told(429, 'rate-limited')
  for (const count of counts) count.calls += 1
}

// ---- the broker's language

async function ask(method, path, session, body) {
  const answer = await broker.request({
    method,
    path,
    headers: { authorization: `Bearer ${opened(session)}`, 'content-type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
  })
  if (answer.statusCode === 401 || answer.statusCode === 403) throw new Told(401, 'broker-session-expired')
  const isJson = String(answer.headers['content-type']).startsWith('application/json')
  const told = await answer.body.text()
  if (answer.statusCode !== 200 || !isJson) throw new Told(502, 'broker-fault')
  const outer = JSON.parse(told)
  const envelope = Array.isArray(outer) ? outer[0] : outer
  if (plain(envelope.status ?? envelope.stat ?? '') !== 'ok') throw new Told(502, 'broker-refused')
  return envelope.result ?? []
}

const plain = (word) => word.toLowerCase().replace(/[ _-]/g, '')
const SIDES = { b: 'BUY', buy: 'BUY', s: 'SELL', sell: 'SELL' }
const TYPES = { l: 'LIMIT', lmt: 'LIMIT', mkt: 'MARKET', sl: 'SL', sllmt: 'SL', slm: 'SL-M', slmkt: 'SL-M' }
const PRODUCTS = { cnc: 'CNC', c: 'CNC', mis: 'MIS', i: 'MIS', nrml: 'NRML', m: 'NRML', mtf: 'MTF', f: 'MTF' }
const VARIETIES = { regular: 'REGULAR', amo: 'AMO' }
const VALIDITIES = { day: 'DAY', ioc: 'IOC' }
const STATUSES = {
  pending: 'ACCEPTED', validationpending: 'ACCEPTED', newack: 'ACCEPTED', amoreceived: 'ACCEPTED', open: 'OPEN',
  triggerpending: 'TRIGGER_PENDING', complete: 'COMPLETE', completed: 'COMPLETE', executed: 'COMPLETE',
  canceled: 'CANCELLED', cancelled: 'CANCELLED', rejected: 'REJECTED', invalidstatustype: 'REJECTED',
}
const FINAL = new Set(['COMPLETE', 'CANCELLED', 'REJECTED'])
const NUMBER = /^[+-]?(?:\d{1,24}(?:\.\d{0,30})?|\.\d{1,30})$/
const MOMENT = /^(\d\d):(\d\d):(\d\d) (\d\d)-(\d\d)-(\d{4})$/
const INDIA = 5.5 * 3600 * 1000

const text = (value) => (typeof value === 'string' && value.trim() ? value.trim() : null)
const ours = (words, value) => (text(value) === null ? null : (words[plain(value)] ?? text(value)))
const decimal = (value) => (text(value) !== null && NUMBER.test(value.trim()) ? value.trim() : null)

function whole(value) {
  const number = decimal(value)
  return number === null || !Number.isInteger(Number(number)) ? null : Number(number)
}

function moment(value) {
  const found = MOMENT.exec(text(value) ?? '')
  if (!found) return null
  const [hour, minute, second, day, month, year] = found.slice(1).map(Number)
  return new Date(Date.UTC(year, month - 1, day, hour, minute, second) - INDIA).toISOString().replace('.000Z', 'Z')
}

function order(given) {
  const row = {}
  for (const name of Object.keys(given)) row[name.toLowerCase()] = given[name] // names differ in case from page to page
  if (!row.orderno && !row.tradingsymbol) throw new Told(502, 'broker-fault')
  const quantity = whole(row.qty)
  const filled = whole(row.fillshares)
  const status = STATUSES[plain(text(row.orderstatus) ?? '')] ?? 'UNKNOWN'
  const pending = quantity === null || filled === null ? null : Math.max(quantity - filled, 0)
  return {
    orderNo: text(row.orderno),
    exchange: text(row.exchange),
    tradingSymbol: text(row.tradingsymbol),
    transactionType: ours(SIDES, row.transtype ?? row.trantype),
    quantity,
    filledQuantity: filled,
    pendingQuantity: FINAL.has(status) ? 0 : pending,
    price: decimal(row.price),
    triggerPrice: decimal(row.triggerprice),
    averagePrice: decimal(row.avgtradeprice),
    product: ours(PRODUCTS, row.product),
    orderType: ours(TYPES, row.pricetype),
    variety: ours(VARIETIES, row.ordertype),
    validity: ours(VALIDITIES, row.ret),
    status,
    statusText: text(row.orderstatus),
    rejectionReason: text(row.rejectedreason),
    exchangeOrderId: text(row.exchorderid),
    placementId: null,
    placedAt: moment(row.ordertime),
  }
}

// ---- what is answered

const WORD = { type: 'string', nullable: true }
const UNITS = { type: 'integer', nullable: true }
const ORDER = {
  type: 'object',
  properties: {
    orderNo: WORD, exchange: WORD, tradingSymbol: WORD, transactionType: WORD, quantity: UNITS, filledQuantity: UNITS,
    pendingQuantity: UNITS, price: WORD, triggerPrice: WORD, averagePrice: WORD, product: WORD, orderType: WORD,
    variety: WORD, validity: WORD, status: { type: 'string' }, statusText: WORD, rejectionReason: WORD,
    exchangeOrderId: WORD, placementId: WORD, placedAt: WORD,
  },
}
const BOOK = {
  type: 'object',
  properties: { orders: { type: 'array', items: ORDER }, asOf: { type: 'string' } },
}
const NEW_ORDER = {
  type: 'object',
  additionalProperties: false,
  required: ['exchange', 'tradingSymbol', 'transactionType', 'quantity', 'product', 'orderType', 'validity', 'variety'],
  properties: {
    exchange: { enum: ['NSE', 'BSE', 'NFO', 'BFO', 'CDS', 'BCD', 'MCX'] },
    tradingSymbol: { type: 'string', minLength: 1, maxLength: 64 },
    transactionType: { enum: ['BUY', 'SELL'] },
    quantity: { type: 'integer', minimum: 1 },
    product: { enum: ['CNC', 'MIS', 'NRML', 'MTF'] },
    orderType: { enum: ['LIMIT', 'MARKET', 'SL', 'SL-M'] },
    price: { type: 'string', pattern: '^[0-9]{1,9}(\\.[0-9]{1,4})?$' },
    validity: { enum: ['DAY', 'IOC'] },
    variety: { enum: ['REGULAR', 'AMO'] },
  },
}

const kept = new Map()

async function book(request) {
  const session = await signedIn(request)
  const young = reuseMs ? kept.get(session.user_id) : undefined
  if (young && Date.now() - young.at < reuseMs) return young.answer
  const at = Date.now()
  admit(session.user_id, 'non-trading')
  const rows = await ask('GET', '/od-rest/info/orderbook', session)
  const answer = { orders: rows.map(order), asOf: new Date(at).toISOString() }
  if (reuseMs) kept.set(session.user_id, { at, answer })
  return answer
}

async function placing(request, reply) {
  const session = await signedIn(request)
  const wanted = request.body
  const idempotencyKey = request.headers['idempotency-key']
  if (!idempotencyKey) throw new Told(400, 'idempotency-key-missing')
  admit(session.user_id, 'order')
  const id = randomUUID()
  const intended = await db.query(
    `INSERT INTO intents (id, user_id, idempotency_key, terms, state) VALUES ($1, $2, $3, $4, 'sending')
     ON CONFLICT DO NOTHING`,
    [id, session.user_id, idempotencyKey, JSON.stringify(wanted)],
  )
  if (!intended.rowCount) throw new Told(409, 'idempotency-key-in-use')
  const rows = await ask('POST', '/od-rest/orders/execute', session, [{
    exchange: wanted.exchange, tradingSymbol: wanted.tradingSymbol, qty: String(wanted.quantity),
    price: wanted.price ?? '0', product: wanted.product, transType: wanted.transactionType[0], priceType: 'L',
    orderType: 'Regular', ret: wanted.validity, source: 'API', triggerPrice: '', disclosedQty: '', mktProtection: '',
    target: '', stopLoss: '', trailingPrice: '', remarks: id,
  }])
  const orderNo = text(rows[0]?.orderNo)
  await db.query('UPDATE intents SET state = $2, order_no = $3 WHERE id = $1',
    [id, orderNo ? 'accepted' : 'unknown', orderNo])
  reply.code(orderNo ? 201 : 202)
  return { placementId: id, outcome: orderNo ? 'accepted' : 'unknown', orders: [{ orderNo }], order: wanted }
}

const app = Fastify({ logger: true, disableRequestLogging: true })
app.addHook('onResponse', async (request, reply) => {
  const { method } = request
  request.log.info({ method, route: request.routeOptions.url, status: reply.statusCode, ms: reply.elapsedTime })
})
app.addHook('onSend', async (request, reply) => {
  reply.headers({
    'x-request-id': request.id, 'cache-control': 'no-store', 'x-content-type-options': 'nosniff',
    'referrer-policy': 'same-origin', 'content-security-policy': "default-src 'none'",
  })
})
app.get('/healthz', async () => ({ status: 'ok' }))
app.get('/v1/session', async (request) => {
  const session = await signedIn(request)
  const broker = { connected: session.sealed !== null, expiresAt: session.broker_expires_at }
  const user = { id: session.user_id, name: session.name }
  return { user, signedInAt: session.created_at, expiresAt: session.expires_at, broker }
})
app.get('/v1/orders', { schema: { response: { 200: BOOK } } }, book)
app.post('/v1/orders', { schema: { body: NEW_ORDER } }, placing)
process.on('SIGTERM', () => app.close().then(() => process.exit(0)))
await app.listen({ host: '127.0.0.1', port: Number(PORT) })
