//! Spark's SQL, as the parser is to read it.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr};
use datafusion::sql::sqlparser::dialect::{Dialect, SparkSqlDialect};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

/// sqlparser's dialect of Spark, with the precedence of `DIV` mended: sqlparser 0.62 reads `7 DIV 2 + 1` as `7 DIV (2 + 1)`.
#[derive(Debug)]
pub(crate) struct Spark;

const SPARK: SparkSqlDialect = SparkSqlDialect {};

/// Answers with sqlparser's dialect.
macro_rules! as_sqlparser {
    ($($method:ident($($arg:ident: $kind:ty),*)),* $(,)?) => {
        $(fn $method(&self, $($arg: $kind),*) -> bool {
            SPARK.$method($($arg),*)
        })*
    };
}

impl Dialect for Spark {
    fn dialect(&self) -> TypeId {
        SPARK.dialect()
    }

    as_sqlparser!(
        is_delimited_identifier_start(c: char),
        is_identifier_start(c: char),
        is_identifier_part(c: char),
        supports_filter_during_aggregation(),
        supports_group_by_expr(),
        supports_group_by_with_modifier(),
        supports_lambda_functions(),
        supports_select_wildcard_except(),
        supports_struct_literal(),
        supports_nested_comments(),
        supports_create_table_using(),
        supports_long_type_as_bigint(),
        supports_values_as_table_factor(),
        supports_bang_not_operator(),
        supports_select_item_multi_column_alias(),
        supports_cte_without_as(),
        supports_map_literal_with_angle_brackets(),
    );

    fn parse_infix(&self, parser: &mut Parser, left: &Expr, precedence: u8) -> Option<Result<Expr, ParserError>> {
        if !parser.parse_keyword(Keyword::DIV) {
            return None;
        }
        Some(parser.parse_subexpr(precedence).map(|right| Expr::BinaryOp {
            left: Box::new(left.clone()),
            op: BinaryOperator::MyIntegerDivide,
            right: Box::new(right),
        }))
    }
}
