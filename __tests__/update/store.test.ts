import { memoryStore } from '../../lib/update/store.js'

const state = (version: number) => ({ version, hash: `hash of ${version}`, text: `set ${version}`, links: [] })

test('the store in memory keeps the highest version, and each one is of its own', async () => {
  const store = memoryStore()
  expect(await store.load()).toBeUndefined()
  await store.save(state(2))
  await store.save(state(1))
  expect(await store.load()).toEqual(state(2))
  await store.save({ ...state(2), text: 'with another signature' })
  expect((await store.load())?.text).toBe('with another signature')
  expect(await memoryStore().load()).toBeUndefined()
})
