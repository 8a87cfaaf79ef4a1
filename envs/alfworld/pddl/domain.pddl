; The household domain for Fast Downward: what can be done with receptacles and objects.
; Predicates are those of ALFWorld's problem files; names in an action's parameters are used by the grammar.
; An operator without effect would be dropped, so actions that only inform leave a mark.

(define (domain alfred)
  (:requirements :adl :action-costs :typing)
  (:types agent location receptacle object rtype otype)

  (:predicates
    (atLocation ?a - agent ?l - location)
    (receptacleAtLocation ?r - receptacle ?l - location)
    (objectAtLocation ?o - object ?l - location)
    (inReceptacle ?o - object ?r - receptacle)
    (inReceptacleObject ?inner - object ?outer - object)
    (isReceptacleObject ?o - object)
    (openable ?r - receptacle)
    (opened ?r - receptacle)
    (receptacleType ?r - receptacle ?t - rtype)
    (objectType ?o - object ?t - otype)
    (canContain ?rt - rtype ?ot - otype)
    (holds ?a - agent ?o - object)
    (holdsAny ?a - agent)
    (pickupable ?o - object)
    (cleanable ?o - object) (isClean ?o - object)
    (heatable ?o - object) (isHot ?o - object)
    (coolable ?o - object) (isCool ?o - object)
    (toggleable ?o - object) (isToggled ?o - object)
    (sliceable ?o - object) (isSliced ?o - object)
    (lookedAround ?l - location)
    (looked ?r - receptacle)
    (examined ?o - object)
    (asked ?a - agent)
  )

  (:functions (total-cost) - number)

  (:action look
    :parameters (?a - agent ?l - location)
    :precondition (atLocation ?a ?l)
    :effect (lookedAround ?l))

  (:action inventory
    :parameters (?a - agent)
    :precondition ()
    :effect (asked ?a))
${help}
  (:action goto
    :parameters (?a - agent ?from - location ?to - location ?r - receptacle)
    :precondition (and (atLocation ?a ?from) (receptacleAtLocation ?r ?to))
    :effect (and (not (atLocation ?a ?from)) (atLocation ?a ?to) (increase (total-cost) 1)))

  (:action view
    :parameters (?a - agent ?l - location ?r - receptacle)
    :precondition (and (atLocation ?a ?l) (receptacleAtLocation ?r ?l))
    :effect (looked ?r))

  (:action inspect
    :parameters (?a - agent ?o - object)
    :precondition (holds ?a ?o)
    :effect (examined ?o))

  (:action open
    :parameters (?a - agent ?l - location ?r - receptacle)
    :precondition (and (openable ?r) (not (opened ?r)) (atLocation ?a ?l) (receptacleAtLocation ?r ?l))
    :effect (and (opened ?r) (increase (total-cost) 1)))

  (:action close
    :parameters (?a - agent ?l - location ?r - receptacle)
    :precondition (and (openable ?r) (opened ?r) (atLocation ?a ?l) (receptacleAtLocation ?r ?l))
    :effect (and (not (opened ?r)) (increase (total-cost) 1)))

  (:action take
    :parameters (?a - agent ?l - location ?o - object ?r - receptacle)
    :precondition (and
      (pickupable ?o) (not (holdsAny ?a)) (inReceptacle ?o ?r)
      (atLocation ?a ?l) (receptacleAtLocation ?r ?l)
      (or (not (openable ?r)) (opened ?r)))
    :effect (and
      (holds ?a ?o) (holdsAny ?a)
      (not (inReceptacle ?o ?r)) (not (objectAtLocation ?o ?l))
      (increase (total-cost) 1)))

  (:action put
    :parameters (?a - agent ?l - location ?o - object ?r - receptacle ?ot - otype ?rt - rtype)
    :precondition (and
      (holds ?a ?o) (atLocation ?a ?l) (receptacleAtLocation ?r ?l)
      (objectType ?o ?ot) (receptacleType ?r ?rt) (canContain ?rt ?ot)
      (or (not (openable ?r)) (opened ?r)))
    :effect (and
      (not (holds ?a ?o)) (not (holdsAny ?a))
      (inReceptacle ?o ?r) (objectAtLocation ?o ?l)
      (increase (total-cost) 1)))

  (:action clean
    :parameters (?a - agent ?l - location ?r - receptacle ?o - object)
    :precondition (and
      (cleanable ?o) (holds ?a ?o) (atLocation ?a ?l) (receptacleAtLocation ?r ?l)
      ${cleaner})
    :effect (and (isClean ?o) (increase (total-cost) 5)))

  (:action heat
    :parameters (?a - agent ?l - location ?r - receptacle ?o - object)
    :precondition (and
      (heatable ?o) (holds ?a ?o) (atLocation ?a ?l) (receptacleAtLocation ?r ?l)
      (receptacleType ?r MicrowaveType))
    :effect (and (isHot ?o) (not (isCool ?o)) (increase (total-cost) 5)))

  (:action cool
    :parameters (?a - agent ?l - location ?r - receptacle ?o - object)
    :precondition (and
      (coolable ?o) (holds ?a ?o) (atLocation ?a ?l) (receptacleAtLocation ?r ?l)
      (receptacleType ?r FridgeType))
    :effect (and (isCool ?o) (not (isHot ?o)) (increase (total-cost) 5)))

  (:action toggle
    :parameters (?a - agent ?l - location ?o - object ?r - receptacle)
    :precondition (and
      (toggleable ?o) (inReceptacle ?o ?r) (atLocation ?a ?l) (receptacleAtLocation ?r ?l))
    :effect (and (isToggled ?o) (increase (total-cost) 5)))

  (:action slice
    :parameters (?a - agent ?l - location ?o - object ?knife - object)
    :precondition (and
      (sliceable ?o) (objectAtLocation ?o ?l) (atLocation ?a ?l) (holds ?a ?knife)
      (or (objectType ?knife KnifeType) (objectType ?knife ButterKnifeType)))
    :effect (and (isSliced ?o) (increase (total-cost) 5)))
)
