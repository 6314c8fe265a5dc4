import { describe, expect, it } from 'vitest'
import { Admission } from '../../../src/bridge/admission.ts'
import { AddressCounter } from '../../../src/node/address-counter.ts'

describe('admission', () => {
  it('admits for its time and no longer, and each pass renews it', () => {
    let nowMs = 0
    const admission = new Admission(10, 1_000, () => nowMs)
    expect(admission.isAdmitted('a')).toBe(false)
    admission.admit('a')
    nowMs = 999
    expect(admission.isAdmitted('a')).toBe(true)
    admission.admit('a')
    nowMs = 1_998
    expect(admission.isAdmitted('a')).toBe(true)
    nowMs = 1_999
    expect(admission.isAdmitted('a')).toBe(false)
    expect(admission.size).toBe(0)
  })

  it('ends earlier where that is said, and never later', () => {
    let nowMs = 0
    const admission = new Admission(10, 1_000, () => nowMs)
    admission.admit('short', 500)
    admission.admit('long', 5_000)
    nowMs = 500
    expect([admission.isAdmitted('short'), admission.isAdmitted('long')]).toEqual([false, true])
    nowMs = 1_000
    expect(admission.isAdmitted('long')).toBe(false)
  })

  it('being asked for does not renew it', () => {
    let nowMs = 0
    const admission = new Admission(10, 1_000, () => nowMs)
    admission.admit('a')
    nowMs = 600
    expect(admission.isAdmitted('a')).toBe(true)
    nowMs = 1_200
    expect(admission.isAdmitted('a')).toBe(false)
  })

  it('forgets the longest unused when full: a flood of new keys does not push out who is active', () => {
    const admission = new Admission(3, 1_000, () => 0)
    for (const id of ['active', 'b', 'c']) admission.admit(id)
    for (let i = 0; i < 10; i++) {
      expect(admission.isAdmitted('active')).toBe(true)
      admission.admit(`new${i}`)
      expect(admission.size).toBe(3)
    }
    expect(admission.isAdmitted('active')).toBe(true)
    expect(admission.isAdmitted('b')).toBe(false)
  })
})

it('the address counter counts up and down, and uncounts once', () => {
  const counter = new AddressCounter()
  const first = counter.add('a')
  const second = counter.add('a')
  counter.add('b')
  expect([counter.total, counter.of('a'), counter.of('b'), counter.of('c')]).toEqual([3, 2, 1, 0])
  first()
  first()
  expect([counter.total, counter.of('a')]).toEqual([2, 1])
  second()
  expect([counter.total, counter.of('a')]).toEqual([1, 0])
})
